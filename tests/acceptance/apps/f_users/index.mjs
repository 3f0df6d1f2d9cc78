import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";

const TableName = process.env.TABLE_NAME;
const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));

const update = (userId, rest) =>
  dynamodb.send(new UpdateCommand({ TableName, Key: { userId }, ...rest }));

async function userOf(socket) {
  const { Items } = await dynamodb.send(
    new QueryCommand({
      TableName,
      IndexName: "by-socket",
      KeyConditionExpression: "socket = :socket",
      ExpressionAttributeValues: { ":socket": socket },
    }),
  );
  return Items[0]?.userId;
}

const routes = {
  $connect: (socket, event) =>
    update(event.queryStringParameters.user, {
      UpdateExpression: "SET socket = :socket, lastSeen = :now ADD logins :one",
      ExpressionAttributeValues: {
        ":socket": socket,
        ":now": new Date().toISOString(),
        ":one": 1,
      },
    }),
  $default: async (socket) =>
    update(await userOf(socket), {
      UpdateExpression: "SET lastSeen = :now",
      ConditionExpression: "socket = :socket",
      ExpressionAttributeValues: { ":socket": socket, ":now": new Date().toISOString() },
    }),
  $disconnect: async (socket) => {
    const userId = await userOf(socket);
    if (userId === undefined) return;
    await update(userId, {
      UpdateExpression: "REMOVE socket ADD logouts :one",
      ExpressionAttributeValues: { ":one": 1 },
    });
  },
};

export const handler = async (event) => {
  const { connectionId, routeKey } = event.requestContext;
  await routes[routeKey](connectionId, event);
  return { statusCode: 200 };
};
