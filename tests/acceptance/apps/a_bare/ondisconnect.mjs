import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteCommand, DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";

const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));

export const handler = async (event) => {
  const { connectionId } = event.requestContext;
  await dynamodb.send(
    new DeleteCommand({ TableName: process.env.TABLE_NAME, Key: { connectionId } }),
  );
  return { statusCode: 200, body: "Disconnected." };
};
