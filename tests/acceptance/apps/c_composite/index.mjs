import {
  ApiGatewayManagementApiClient,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  DeleteCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";

const TableName = process.env.TABLE_NAME;
const COUNTER = { pk: "STATS", sk: "online" };
const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const clients = new ApiGatewayManagementApiClient({ endpoint: process.env.CALLBACK_URL });

const count = (by) =>
  dynamodb.send(
    new UpdateCommand({
      TableName,
      Key: COUNTER,
      UpdateExpression: "ADD connections :by",
      ExpressionAttributeValues: { ":by": by },
    }),
  );

const routes = {
  async $connect(id, event) {
    const connectedAt = new Date(event.requestContext.connectedAt).toISOString();
    await dynamodb.send(
      new PutCommand({ TableName, Item: { pk: "CONNECTIONS", sk: id, connectedAt } }),
    );
    await count(1);
  },
  async $disconnect(id) {
    await dynamodb.send(new DeleteCommand({ TableName, Key: { pk: "CONNECTIONS", sk: id } }));
    await count(-1);
  },
  async $default(id) {
    const { Item } = await dynamodb.send(new GetCommand({ TableName, Key: COUNTER }));
    const Data = JSON.stringify({ online: Item.connections });
    await clients.send(new PostToConnectionCommand({ ConnectionId: id, Data }));
  },
};

export const handler = async (event) => {
  const { connectionId, routeKey } = event.requestContext;
  await routes[routeKey](connectionId, event);
  return { statusCode: 200 };
};
